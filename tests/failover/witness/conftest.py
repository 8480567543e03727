"""The site's certificates are those of the wire's tests."""

from tests.failover.wire.conftest import other_site, party, site

__all__ = ["other_site", "party", "site"]
