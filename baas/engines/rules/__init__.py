"""The rule language: parse, check, compile to SQL, evaluate in memory."""
