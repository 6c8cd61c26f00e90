"""The slowest tests of pytest's XML reports: `.ci/run` ends with them."""

import sys
from pathlib import Path
from xml.etree import ElementTree

COUNT = 20


def read(path):
    """(seconds, report, test) of every test in a report."""
    for case in ElementTree.parse(path).iter("testcase"):
        yield float(case.get("time")), path.stem, f"{case.get('classname')}::{case.get('name')}"


def slowest(paths, count=COUNT):
    """The tests that took longest, over all reports."""
    return sorted((row for path in paths for row in read(path)), reverse=True)[:count]


def main(folder):
    for seconds, report, name in slowest(Path(folder).glob("*.xml")):
        print(f"{seconds:7.1f} s  {report:10} {name}")


if __name__ == "__main__":
    main(sys.argv[1])
