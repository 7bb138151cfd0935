-- What operators say of a user: `auth.claims` in rules, and a part of his access tokens. Beside `users` and not in it, so that no
-- field, rule or filter of that collection reaches it.
create table {schema}._claims (
    "user" uuid primary key,
    claims json not null,              -- `json` keeps the text: it goes into tokens as it was measured
    version bigint not null default 1, -- grows with every change; an access token carries the one it was made with
    changed_at timestamptz not null default now()
);
create index on {schema}._claims (changed_at);

create or replace function {schema}._end_sessions() returns trigger language plpgsql as $$
begin
    update {schema}._sessions set ended_at = now(), ends_at = now() where "user" = old.id and ended_at is null;
    if tg_op = 'DELETE' then
        delete from {schema}._credentials where "user" = old.id;
        delete from {schema}._claims where "user" = old.id;
    end if;
    return null;
end
$$;
