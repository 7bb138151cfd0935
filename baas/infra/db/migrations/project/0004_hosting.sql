-- Sites and their releases. A release never changes once it is ready; a site shows the one it points to, so a switch is one update.

create table {schema}._sites (
    id uuid primary key,
    name text collate "C" not null unique,
    spa boolean not null default false,
    clean_urls boolean not null default false,
    headers jsonb not null default '[]',
    redirects jsonb not null default '[]',
    active_release uuid,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table {schema}._releases (
    id uuid primary key,
    site uuid not null references {schema}._sites on delete cascade,
    ready boolean not null,
    message text,
    wanted jsonb,                           -- the files of a release that is not ready: path -> [sha256, size]
    files int not null,
    size bigint not null,
    created_at timestamptz not null default now(),
    activated_at timestamptz,               -- the last time
    unique (site, id)
);
alter table {schema}._sites
    add foreign key (id, active_release) references {schema}._releases (site, id) deferrable initially deferred;

-- Contents are kept once per project, whichever releases hold them.
create table {schema}._site_blobs (
    sha256 text collate "C" primary key,
    blob text collate "C" not null unique,
    size bigint not null,
    used_at timestamptz not null default now()  -- a content that no release holds is swept a day after this
);

create table {schema}._release_files (
    release uuid not null references {schema}._releases on delete cascade,
    path text collate "C" not null,
    sha256 text collate "C" not null references {schema}._site_blobs,
    primary key (release, path)
);
create index on {schema}._release_files (sha256);
