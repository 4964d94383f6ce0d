"""Makes the wheel of a package with one module: a zip file with some metadata."""
import os
import sys
import zipfile

name = sys.argv[1]
os.makedirs("/wheels")
with zipfile.ZipFile(f"/wheels/{name}-1.0-py3-none-any.whl", "w") as wheel:
    wheel.writestr(f"{name}.py", "def greet():\n    return 'hello from a package'\n")
    wheel.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    wheel.writestr(f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(f"{name}-1.0.dist-info/RECORD", "")
