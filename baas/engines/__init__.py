"""Floor 3: the hard parts, in order: schema, rules, query. No HTTP and no features here."""
