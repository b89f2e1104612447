"""What the API answers if it does not do what was asked: a Status, as Kubernetes calls it."""

from collections.abc import Sequence
from typing import Any

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class ApiError(Exception):
    def __init__(
        self,
        code: int,
        message: str,
        *,
        reason: str = "",
        retry_after: int | None = None,
        causes: Sequence[str] = (),
        about: tuple[str, str] | None = None,
    ) -> None:
        """causes: of an invalid object, each `field: what is wrong`; retry_after: seconds; about: a kind and a name."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason or _REASONS[code]
        self.retry_after = retry_after
        self._causes = list(causes)
        self._about = about

    def status(self) -> dict[str, Any]:
        details: dict[str, Any] = {}
        if self._about is not None:
            details["kind"], details["name"] = self._about
        if self._causes:
            details["causes"] = [
                {"reason": "FieldValueInvalid", "field": field, "message": message}
                for field, _, message in (cause.partition(": ") for cause in self._causes)
            ]
        if self.retry_after is not None:
            details["retryAfterSeconds"] = self.retry_after
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": details,
            "code": self.code,
        }


def not_found(resource: str, name: str) -> ApiError:
    return ApiError(404, f'{resource} "{name}" not found', about=(resource, name))


def already_exists(resource: str, name: str) -> ApiError:
    return ApiError(409, f'{resource} "{name}" already exists', reason="AlreadyExists", about=(resource, name))


def conflict(resource: str, name: str) -> ApiError:
    return ApiError(
        409,
        f'Operation cannot be fulfilled on {resource} "{name}": the object has been modified; '
        "please apply your changes to the latest version and try again",
        about=(resource, name),
    )


def invalid(kind: str, name: str, causes: list[str]) -> ApiError:
    said = causes[0] if len(causes) == 1 else f"[{', '.join(causes)}]"
    return ApiError(422, f'{kind} "{name}" is invalid: {said}', causes=causes, about=(kind, name))


def expired(version: int, oldest: int) -> ApiError:
    return ApiError(410, f"too old resource version: {version} ({oldest})")
