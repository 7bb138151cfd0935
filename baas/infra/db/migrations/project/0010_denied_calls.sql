-- How a refused call was made, so that it can be asked again as what it was: one record or many, through which door, and with which
-- claims in the token.
alter table {schema}._denials
    add column call text not null default 'one',
    add column via text not null default 'rest',
    add column claims jsonb;
