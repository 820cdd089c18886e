"""Where there is no curl. Usage: client.py URL "NAME: VALUE"... prints the response's body."""
import sys
import urllib.request

headers = dict(line.split(": ", 1) for line in sys.argv[2:])
with urllib.request.urlopen(urllib.request.Request(sys.argv[1], headers=headers), timeout=10) as response:
    print(response.read().decode())
