-- The readers of projects (infra/db/readers.py) run rules and filters over views, which call these functions.

grant usage on schema baas_rt to public;
