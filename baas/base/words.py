"""Numbers in sentences for people."""


def counted(number: int, one: str, many: str) -> str:
    """`1 record has` and `2 records have`."""
    return f"{number} {one if number == 1 else many}"
