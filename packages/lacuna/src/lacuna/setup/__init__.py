"""What runs before anything is installed: discovery, environments, images, Nextflow.

Standard library only, Python 3.11 or newer.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 (it is what an older one gets to see)
    sys.exit(f"Lacuna needs Python 3.11 or newer on PATH, and {sys.executable} is {sys.version}")
