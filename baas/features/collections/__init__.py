"""Makes and alters collections: fields, rules, indexes."""
