"""Makes cdnow_full.csv: all 23,570 customers of the CDNOW log, which this project may not ship.

    python3 tests/python/fetch_cdnow.py OUT.csv

The rows come with the package lifetimes 0.11.3, fetched by pip; nothing of it is installed.
"""

import csv
import pathlib
import subprocess
import sys
import tempfile
import zipfile

PACKAGE = "lifetimes==0.11.3"
INSIDE = "lifetimes/datasets/CDNOW_master.txt"


def main(out):
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", folder]
        subprocess.run(pip + [PACKAGE], check=True)
        wheel = next(pathlib.Path(folder).glob("*.whl"))
        text = zipfile.ZipFile(wheel).read(INSIDE).decode()
    rows = [line.split() for line in text.splitlines()[1:] if line.strip()]
    with open(out, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["customer_id", "date", "n_cds", "amount"])
        for customer, day, items, amount in rows:
            writer.writerow([customer, f"{day[:4]}-{day[4:6]}-{day[6:]}", items, amount])
    print(f"{len(rows)} rows of {len({row[0] for row in rows})} customers in {out}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
