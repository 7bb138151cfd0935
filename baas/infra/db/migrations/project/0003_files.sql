-- Files: what is known of them. Their bytes are blobs of the file store, under the key in `blob`; a blob without a row is swept.

create table {schema}._buckets (
    name text collate "C" primary key,
    public boolean not null default false,  -- anyone may download, whatever the view rule
    max_size bigint,                        -- bytes; null: the project's limit
    types text[],                           -- allowed content types, `image/*` for a family; null: all
    rules jsonb not null default '{}',
    version bigint not null default 1,      -- grows with every change; keys what servers keep in memory
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table {schema}._files (
    bucket text collate "C" not null references {schema}._buckets on delete cascade,
    path text collate "C" not null,
    name text collate "C" not null,         -- what follows the last slash of the path
    folder text collate "C" not null,       -- what precedes it
    blob text collate "C" not null unique,
    size bigint not null,
    content_type text collate "C" not null,
    sha256 text collate "C" not null,       -- hexadecimal; also the ETag
    owner uuid,                             -- the user who first uploaded it; null: an operator or a key
    metadata jsonb not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (bucket, path)
);
create index on {schema}._files (owner) where owner is not null;
