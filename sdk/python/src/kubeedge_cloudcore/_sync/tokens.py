"""Join tokens.

Made by scripts/generate.py: do not edit.
"""

from __future__ import annotations

from typing import Optional

from .. import _http
from .._page import Cursor, Page
from ..models import GeneratedToken, TokenInfo, TokenRevoked
from .base import Base


class Tokens(Base):
    """What lets a node in, once."""

    def generate_token(
        self,
        node_name: str,
        *,
        expiry_hours: Optional[int] = None,
        description: Optional[str] = None,
        reusable: Optional[bool] = None,
        idempotency_key: Optional[str] = None,
    ) -> GeneratedToken:
        """Generate a join token. It is shown this once, in ``token`` and ``join_command``.

        Args:
            node_name: The only node that it lets in.
            expiry_hours: Its life; the hub's setting ``token_expiry`` otherwise.
            description: For people.
            reusable: Whether it lets the node in again until it ends.
            idempotency_key: To repeat this very call later, also from another process.
        """
        return self._post(
            GeneratedToken,
            _http.path("token", "generate"),
            {"node_name": node_name, "expiry_hours": expiry_hours, "description": description},
            query={"reusable": reusable},
            key=idempotency_key,
        )

    def list_tokens(
        self,
        *,
        node_name: Optional[str] = None,
        limit: Optional[int] = None,
        cursor: Optional[Cursor] = None,
    ) -> Page[TokenInfo]:
        """List join tokens, without the tokens themselves."""
        return self._list(
            TokenInfo, "tokens", _http.path("tokens"), limit, cursor, {"node_name": node_name}
        )

    def revoke_token(self, node_name: str) -> TokenRevoked:
        """Revoke a node's tokens, and its certificates where it has joined."""
        return self._delete(TokenRevoked, _http.path("token", node_name))
