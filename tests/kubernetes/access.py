"""Who may do what: one user with a token, and rights as in the rules of a Role."""

from typing import Any

from tests.kubernetes.problems import ApiError
from tests.kubernetes.requests import Request

TOKEN = "the-token-of-the-control-worker"
_USER = "system:serviceaccount:iacq:control"
_RIGHTS = frozenset(
    {
        ("create", "pods"),
        ("get", "pods"),
        ("list", "pods"),
        ("watch", "pods"),
        ("patch", "pods"),
        ("update", "pods"),
        ("delete", "pods"),
        ("get", "namespaces"),
        ("get", "deployments"),
    }
)
_NAMED = {"deployments": "iacq-control"}


class Access:
    """`rights`: pairs of a verb and a resource (`pods/status` for what is below one)."""

    def __init__(self) -> None:
        self.rights: set[tuple[str, str]] = set(_RIGHTS)

    def check(self, request: Request, authorization: str) -> None:
        """Raise ApiError (401, 403)."""
        if request.resource in ("version", "healthz", "readyz", "livez"):
            return
        if authorization != f"Bearer {TOKEN}":
            raise ApiError(401, "Unauthorized")
        resource = "/".join(filter(None, (request.resource, request.subresource)))
        if not request.needs_right or (request.verb, resource) in self.rights:
            return
        named = f'{request.resource} "{request.name}"' if request.name else request.resource
        where = f'in the namespace "{request.namespace}"' if request.namespace else "at the cluster scope"
        raise ApiError(
            403,
            f'{named} is forbidden: User "{_USER}" cannot {request.verb} resource "{resource}" in API group "" {where}',
            about=(request.resource, request.name),
        )

    def review(self, given: Any) -> dict[str, Any]:
        """Answer a SelfSubjectAccessReview."""
        wanted = given["spec"]["resourceAttributes"]
        resource = "/".join(filter(None, (wanted.get("resource"), wanted.get("subresource"))))
        # A rule with names allows nothing of those that it does not name, nor of all.
        named = resource not in _NAMED or wanted.get("name") == _NAMED[resource]
        return {**given, "status": {"allowed": named and (wanted.get("verb"), resource) in self.rights}}
