"""Names of constraints and indexes, and the way back from them."""

import itertools

from baas.engines.schema import names
from baas.engines.schema.collection import Collection, Field, Index

MAKERS = (names.unique_key, names.check, names.foreign_key, names.foreign_key_index)


def test_no_two_tables_share_a_name() -> None:
    """`a_b` of `c` and `b_c` of `a` would meet if the parts were joined by underscores; long names differ in a digest."""
    words = ("a", "b", "a_b", "b_c", "c", "key", "x" * 63, "x" * 62 + "y")
    made = [
        make(Collection(table, "p_1", ()), Field(field, "text")) for make, table, field in itertools.product(MAKERS, words, words)
    ]
    made += [names.primary_key(Collection(table, "p_1", ())) for table in words]

    assert len(made) == len(set(made))
    assert max(len(name.encode()) for name in made) <= 63


def test_indexes_differ_by_direction_and_condition() -> None:
    """Four indexes over one field, four names."""
    posts = Collection("posts", "p_1", (Field("n", "int"),))
    indexes = [Index(("n",)), Index(("-n",)), Index(("n",), unique=True), Index(("n",), where="n > 1")]

    assert 4 == len({names.index(posts, index) for index in indexes})
