# SPDX-License-Identifier: LGPL-2.1-or-later
"""Certificate authorities and certificates in the layout of QEMU's tls-creds-x509."""

import pathlib
import shutil
import subprocess

from . import paths

CONFIG = """\
[ca]
default_ca=this
[this]
dir={at}
database={at}/index.txt
new_certs_dir={at}
serial={at}/serial
crlnumber={at}/crlnumber
certificate={at}/ca-cert.pem
private_key={at}/ca-key.pem
default_md=sha256
default_crl_days=30
policy=any
unique_subject=no
[any]
commonName=supplied
[req]
distinguished_name=name
[name]
[authority]
basicConstraints=critical,CA:true
keyUsage=critical,keyCertSign,cRLSign
subjectKeyIdentifier=hash
[host]
basicConstraints=CA:false
keyUsage=digitalSignature
extendedKeyUsage={usage}
{names}
"""


class Authority:
    """An authority below `directory`, which is made."""

    def __init__(self, directory):
        if shutil.which("openssl") is None:
            raise paths.Missing("openssl is not installed")
        self.at = pathlib.Path(directory).absolute()
        self.at.mkdir(parents=True)
        (self.at / "index.txt").touch()
        for name in ("serial", "crlnumber"):
            (self.at / name).write_text("01\n")
        self._write_config("serverAuth", "")
        self._run("req", "-x509", *self._new_key(self.at / "ca-key.pem"), "-days", "30", "-subj",
                  "/CN=rig authority", "-extensions", "authority", "-out", self.at / "ca-cert.pem")

    def _write_config(self, usage, names):
        (self.at / "openssl.cnf").write_text(CONFIG.format(at=self.at, usage=usage, names=names))

    def _run(self, command, *args):
        subprocess.run(["openssl", command, "-config", self.at / "openssl.cnf", *map(str, args)],
                       check=True, capture_output=True, timeout=30)

    @staticmethod
    def _new_key(path):
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", path]

    def _issue(self, directory, kind, names, usage, dates):
        alternatives = ",".join(f"IP:{n}" if n.replace(".", "").isdigit() or ":" in n else f"DNS:{n}" for n in names)
        self._write_config(usage, f"subjectAltName={alternatives}" if names else "")
        key, cert, request = (directory / f"{kind}-{end}.pem" for end in ("key", "cert", "request"))
        self._run("req", "-new", *self._new_key(key), "-subj", f"/CN={names[0] if names else 'nobody'}", "-out", request)
        self._run("ca", "-batch", "-notext", "-extensions", "host", *dates, "-in", request, "-out", cert)
        request.unlink()

    def host(self, directory, *names, expired=False, server=True, client=True, usage=None):
        """A directory with what a host of these names needs; without names, only the authority's."""
        directory = pathlib.Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.at / "ca-cert.pem", directory)
        dates = (["-startdate", "20200101000000Z", "-enddate", "20200201000000Z"] if expired else
                 ["-days", "20"])
        if server:
            self._issue(directory, "server", names, usage or "serverAuth", dates)
        if client:
            self._issue(directory, "client", names, usage or "clientAuth", dates)
        return directory

    def revoke(self, directory, kind, into):
        """Takes a certificate back, and gives the list of those to the directories `into`."""
        self._run("ca", "-revoke", directory / f"{kind}-cert.pem")
        for target in into:
            self._run("ca", "-gencrl", "-out", target / "ca-crl.pem")
