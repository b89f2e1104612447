"""AES-256-GCM for what is stored at rest.

Sealed: `iacq1`, 4 bytes that name the key (the first of its SHA-256), 12 random bytes of nonce, ciphertext
with its tag. Authenticated beside the text: what it is bound to, and the header. Random nonces: after 2^32
messages under one key, two are equal with a chance of 2^-32; add a key long before.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

from iacq.errors import InvalidInput, PhaseFailed

_MAGIC = b"iacq1"
_ANY_MAGIC = b"iacq"
_HEADER = len(_MAGIC) + 4
_NONCE = 12
_TAG = 16
_PIECE = 2**20
_LARGEST = 2**31 - 1 - _TAG  # of one call of OpenSSL

_WHERE_KEYS_ARE = "IACQ_ENCRYPTION_KEYS (or HOME/keys)"


class AesGcmSealer:
    """Seals under the first of its keys, opens under any."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """keys: 32 bytes each, at least one, as `adapters.keys.load` returns them."""
        self._ciphers = {_name(key): AESGCM(key) for key in reversed(keys)}
        self._sealing = AES(keys[0])
        self._first = _name(keys[0])
        if len(self._ciphers) != len(set(keys)):
            raise InvalidInput(
                "two encryption keys have the same short name",
                field="IACQ_ENCRYPTION_KEYS",
                hint="replace one",
            )

    def seal(self, plain: bytes, *, bound_to: str) -> bytes:
        """Encrypt under the first key. The same `bound_to` opens it again. Raises PhaseFailed above 2 GiB."""
        if len(plain) > _LARGEST:
            raise PhaseFailed(f"{bound_to}: {len(plain)} bytes are too many to encrypt in one piece", code="too_large")
        header = _MAGIC + self._first
        nonce = os.urandom(_NONCE)
        # Piece by piece into one buffer: AESGCM.encrypt would need a second one for what it returns.
        encryptor = Cipher(self._sealing, GCM(nonce)).encryptor()
        encryptor.authenticate_additional_data(_bind(bound_to, header))
        sealed = io.BytesIO()
        sealed.write(header + nonce)
        for start in range(0, len(plain), _PIECE):
            sealed.write(encryptor.update(memoryview(plain)[start : start + _PIECE]))
        sealed.write(encryptor.finalize() + encryptor.tag)
        return sealed.getvalue()

    def open(self, sealed: bytes, *, bound_to: str) -> bytes:
        """Decrypt. Raises PhaseFailed(code=unreadable): no such key, or not what was sealed for this."""
        header = bytes(sealed[:_HEADER])
        if header.startswith(_ANY_MAGIC) and not header.startswith(_MAGIC):
            raise PhaseFailed(f"{bound_to}: another version of iacq sealed what is stored", code="unreadable")
        if len(sealed) < _HEADER + _NONCE + _TAG or not header.startswith(_MAGIC):
            raise PhaseFailed(f"{bound_to}: what is stored was not sealed by iacq, or is cut off", code="unreadable")
        cipher = self._ciphers.get(header[len(_MAGIC) :])
        if cipher is None:
            raise PhaseFailed(
                f"{bound_to}: it is sealed with key {header[len(_MAGIC) :].hex()}, which is not here",
                code="unreadable",
                field="IACQ_ENCRYPTION_KEYS",
                hint=f"add the key that sealed it to {_WHERE_KEYS_ARE}",
            )
        body = memoryview(sealed)[_HEADER:]
        try:
            return cipher.decrypt(body[:_NONCE], body[_NONCE:], _bind(bound_to, header))
        except InvalidTag:
            raise PhaseFailed(
                f"{bound_to}: what is stored is not what was sealed for it: damaged, changed or mixed up",
                code="unreadable",
            ) from None

    def reseal_needed(self, sealed: bytes) -> bool:
        """Tell whether something else than the first key sealed it."""
        return bytes(sealed[:_HEADER]) != _MAGIC + self._first


def _name(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()[: _HEADER - len(_MAGIC)]


def _bind(bound_to: str, header: bytes) -> bytes:
    # The header has one length and comes last: two different pairs never give the same bytes.
    return bound_to.encode() + header
