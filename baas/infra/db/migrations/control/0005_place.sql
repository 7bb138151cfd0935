-- Which database this is, as PostgreSQL tells them apart. A dump takes the row along, so where it is restored the two differ, and
-- every feed gets a new epoch: positions that were given out since the dump mean nothing there.

alter table baas.installation add column place text;
