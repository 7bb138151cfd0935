"""An e-mail address, kept in lower case."""

from baas.base.emails import normal_email
from baas.engines.schema.collection import Field
from baas.engines.schema.fields.base import SEARCH, FieldFault, Texts, clean_text

_MAX_CHARACTERS = 254  # RFC 5321, section 4.5.3.1.3 with its erratum 1690


class EmailKind(Texts):
    """An address by RFC 5321 and 6531, in lower case throughout: two accounts must not differ in letter case alone.

    Nobody is asked whether it exists. Domains of private networks (`.local`) are taken: installations live there.
    """

    name = "email"
    options = (SEARCH,)

    def clean(self, field: Field, value: object) -> str:
        text = clean_text(value)
        if len(text) > _MAX_CHARACTERS:
            raise FieldFault("too_long", f"Must have at most {_MAX_CHARACTERS} characters.")
        try:
            return normal_email(text)
        except ValueError:
            raise FieldFault("bad_email", "Must be an e-mail address.") from None

    def json_schema(self, field: Field) -> dict[str, object]:
        return {"type": "string", "format": "email", "maxLength": _MAX_CHARACTERS}
