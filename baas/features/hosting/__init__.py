"""Static sites: releases, activation, rollback, and serving them by Host."""
