"""Certificates for tests: an authority of their own, and what it vouches for, a server at this machine's loopback addresses and a client."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY: Final = datetime.timedelta(days=1)
DOMAIN: Final = "sip.test"


class Pair(msgspec.Struct, frozen=True):
    """A certificate and its key, as PEM files; `both` is one file with the two."""

    certificate: Path
    key: Path
    both: Path


class Certificates(msgspec.Struct, frozen=True):
    """The authority's certificate, and the pairs it signed."""

    authority: Path
    server: Pair
    client: Pair

    def server_context(self, *, client_wanted: bool = False) -> ssl.SSLContext:
        """For those who listen; `client_wanted` has them refuse whoever shows no certificate of the authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server.certificate, self.server.key)
        if client_wanted:
            context.load_verify_locations(self.authority)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_context(self) -> ssl.SSLContext:
        """For those who connect: they trust the authority only, check whom they meet, and show the client's certificate."""
        context = ssl.create_default_context(cafile=str(self.authority))
        context.load_cert_chain(self.client.certificate, self.client.key)
        return context


def certificates(folder: Path) -> Certificates:
    """Makes them in a folder; good for a day."""
    folder.mkdir(parents=True, exist_ok=True)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority_name = _name("Trunkline test authority")
    authority = (
        _certificate(authority_name, authority_name, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    authority_path = folder / "authority.pem"
    authority_path.write_bytes(authority.public_bytes(serialization.Encoding.PEM))

    def signed(name: str, purpose: x509.ObjectIdentifier) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        made = (
            _certificate(_name(f"{name}.{DOMAIN}"), authority_name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.SubjectAlternativeName(_reached_as(name)), critical=False)
            .sign(authority_key, hashes.SHA256())
        ).public_bytes(serialization.Encoding.PEM)
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        pair = Pair(folder / f"{name}.pem", folder / f"{name}.key", folder / f"{name}-both.pem")
        for path, data in ((pair.certificate, made), (pair.key, private), (pair.both, made + private)):
            path.write_bytes(data)
        return pair

    return Certificates(
        authority_path, signed("server", ExtendedKeyUsageOID.SERVER_AUTH), signed("client", ExtendedKeyUsageOID.CLIENT_AUTH)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _reached_as(name: str) -> list[x509.GeneralName]:
    """RFC 5922 7.1: a SIP domain is a URI of the certificate; here programs also go by addresses."""
    hosts: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(text)) for text in ("127.0.0.1", "::1")]
    return [*hosts, x509.DNSName("localhost"), x509.DNSName(f"{name}.{DOMAIN}"), x509.UniformResourceIdentifier(f"sip:{name}.{DOMAIN}")]


def _certificate(name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(key)
        .serial_number(x509.random_serial_number()).not_valid_before(now - DAY).not_valid_after(now + DAY)
    )  # fmt: skip


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs, key_cert_sign=signs, crl_sign=signs, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


__all__ = ["DOMAIN", "Certificates", "Pair", "certificates"]
