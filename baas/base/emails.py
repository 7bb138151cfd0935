"""One spelling for an e-mail address, so that an account has one name."""


def normal_email(text: str) -> str:
    """The address as it is stored and compared: checked for form, domain in its readable form, all lower case.

    Raises ValueError with a message for people. That the domain exists is not checked; only a mail that arrives proves it.
    """
    from email_validator import validate_email

    return validate_email(text.strip(), check_deliverability=False, globally_deliverable=False).normalized.lower()
