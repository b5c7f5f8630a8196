import json
from pathlib import Path

from _shared import args

Path(args.metadata).write_text(json.dumps({"not_applicable": "needs human gene symbols"}))
