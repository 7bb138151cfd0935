"""The change log of each project: what was changed, by whom, in an order that readers can follow from a cursor."""
