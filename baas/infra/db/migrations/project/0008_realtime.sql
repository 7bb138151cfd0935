-- What stands for a credential once, within a minute. A crash may lose them: clients ask for another.
create unlogged table {schema}._tickets (
    digest bytea primary key,          -- SHA-256 of the ticket
    sealed bytea not null,             -- the credential, under the server's key
    expires_at timestamptz not null
);
