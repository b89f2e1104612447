"""What the broker allows."""

from __future__ import annotations

from iacq.errors import Unavailable
from iacq.settings import Settings


def connections(settings: Settings) -> int | None:
    """Return how many clients Redis serves at once; None: it does not tell. Raises Unavailable."""
    import redis

    try:
        with redis.Redis.from_url(settings.broker_url or "", socket_timeout=2, socket_connect_timeout=2) as client:
            told = client.info("clients").get("maxclients")
            return int(told or client.config_get("maxclients")["maxclients"])
    except redis.ResponseError:
        return None  # it is not everybody's right to ask
    except (redis.RedisError, OSError, ValueError) as error:
        raise Unavailable(f"the broker does not answer: {type(error).__name__}", hint="see `broker`") from error
