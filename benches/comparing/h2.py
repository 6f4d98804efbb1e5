"""The same work over HTTP/2: nghttpx takes the generator's requests and brings
them to the server as streams over TLS, about a hundred on a connection."""

import contextlib
import pathlib
import shutil
import subprocess
import tempfile

from . import servers


def install():
    if not (shutil.which("nghttpx") and shutil.which("openssl")):
        servers.debian_install("nghttpx with OpenSSL", ["nghttp2-proxy", "openssl"])


def certificate(folder):
    """The files of a certificate and its key, made in `folder`."""
    files = folder / "certificate.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost"
    command = [*command.split(), "-out", files[0], "-keyout", files[1]]
    subprocess.run(command, check=True, capture_output=True)
    return files


@contextlib.contextmanager
def bridge(server_port, core):
    """nghttpx, between the generator and a server; the port of its own."""
    with tempfile.TemporaryDirectory(prefix="cometbox-compare-") as folder:
        port = servers.free_port()
        command = ["taskset", "-c", str(core), "nghttpx", "--conf=/dev/null", "--single-thread"]
        command += [f"--frontend=127.0.0.1,{port};no-tls", f"--backend=127.0.0.1,{server_port};;proto=h2;tls"]
        # A certificate of our own; and a read may be held for as long as the server likes.
        command += ["--insecure", "--no-ocsp", "--backend-read-timeout=1h", "--frontend-read-timeout=1h"]
        command += [f"--errorlog-file={pathlib.Path(folder) / 'log'}"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            servers.wait_for(port, process, "nghttpx")
            yield port
        finally:
            process.terminate()
            process.wait(20)
