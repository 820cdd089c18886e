"""Cases of TLS: through Python's ssl, curl and openssl. The answer is the SHA-256 of what was received."""
import hashlib
import http.client
import ssl
import subprocess


def tls_python(port, size="100000", count="5"):
    """Requests over one connection; the server echoes the body."""
    context = ssl._create_unverified_context()
    connection = http.client.HTTPSConnection("127.0.0.1", int(port), context=context, timeout=60)
    digest = hashlib.sha256()
    for number in range(int(count)):
        body = bytes([number % 251]) * int(size)
        connection.request("POST", f"/echo/{number}", body)
        answer = connection.getresponse().read()
        assert answer == body, f"{len(answer)} bytes instead of {size}"
        digest.update(answer)
    connection.close()
    return digest.hexdigest()


def tls_curl(port, size="100000", count="1"):
    body = b"c" * int(size)
    url = f"https://127.0.0.1:{port}/echo"
    command = ["curl", "-sSk", "--http1.1", "--noproxy", "*", "--data-binary", "@-", url]
    answer = subprocess.run(command, input=body, check=True, capture_output=True, timeout=60).stdout
    assert answer == body, f"{len(answer)} bytes instead of {size}"
    return hashlib.sha256(answer).hexdigest()


def tls_openssl(port, size="100000", count="1"):
    text = b"GET /body/%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % int(size)
    command = ["openssl", "s_client", "-quiet", "-ign_eof", "-connect", f"127.0.0.1:{port}"]
    answer = subprocess.run(command, input=text, capture_output=True, timeout=60).stdout
    body = answer.split(b"\r\n\r\n", 1)[1]
    assert body == b"b" * int(size), f"{len(body)} bytes instead of {size}"
    return hashlib.sha256(body).hexdigest()
