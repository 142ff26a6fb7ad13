"""The lab's certificate authority, which issues a certificate to every component.

Python 3.13 verifies strictly: it refuses an authority without keyUsage and a leaf without
authorityKeyIdentifier, so both are always set.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME: Final = timedelta(days=365)
CLOCK_SKEW: Final = timedelta(minutes=5)


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its private key, as PEM."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True)
class Identity:
    """The subject of a certificate, from which Kubernetes reads the user and its groups."""

    user: str
    groups: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()  # names and IP addresses of a server


def private_key() -> bytes:
    """Return a new P-256 key as PEM, as service account tokens are signed with."""
    return _pem(ec.generate_private_key(ec.SECP256R1()))


class Authority:
    """A certificate authority in a folder, created there if it is missing."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ca.crt"
        key = folder / "ca.key"
        if not key.exists():
            pair = _self_signed()
            self.path.write_bytes(pair.certificate)
            write_secret(key, pair.key)
        self.certificate = self.path.read_bytes()
        self._issuer = x509.load_pem_x509_certificate(self.certificate)
        loaded = serialization.load_pem_private_key(key.read_bytes(), None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{key} is not a lab's key")
        self._key = loaded

    def issue(self, identity: Identity) -> KeyPair:
        """Issue a certificate for servers and clients."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, g) for g in identity.groups]
        subject = x509.Name([*names, x509.NameAttribute(NameOID.COMMON_NAME, identity.user)])
        usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = (
            _builder(subject, self._issuer.subject, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
            .add_extension(identifier, critical=False)
        )
        if identity.addresses:
            names_served = x509.SubjectAlternativeName(_general_names(identity.addresses))
            builder = builder.add_extension(names_served, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), _pem(key))


def write_secret(path: Path, content: bytes) -> None:
    """Replace a file atomically; only its owner can read it at any time."""
    draft = path.with_name(f".{path.name}")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_bytes(content)
    draft.replace(path)


def _self_signed() -> KeyPair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "openeni-lab")])
    certificate = (
        _builder(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), _pem(key))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + LIFETIME)
        .add_extension(identifier, critical=False)
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_names(addresses: Sequence[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = []
    for address in addresses:
        try:
            names.append(x509.IPAddress(ip_address(address)))
        except ValueError:
            names.append(x509.DNSName(address))
    return names


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,  # what kube-apiserver reads
        serialization.NoEncryption(),
    )
