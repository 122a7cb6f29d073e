"""`python -m client.work.batch_job SITE_FILE FOLDER IDLE`: a site's worker as a job of a cluster.

The site's service starts it there, see `client.workers.batch_workers`.
"""

import os
import sys
import threading
from pathlib import Path

from client.work.site_host import SiteHostFactory
from client.workers.batch_worker import Pulse, serve_files
from client.workers.calls import Host
from client.workers.process_main import set_threads
from shared.loading import loading
from shared.text.logs import log_to_stderr


def main(site_file: Path, folder: Path, idle: float) -> None:
    """Serve the calls of a folder.

    Args:
        site_file: The hospital's `site.toml`; its folder is on a disk that service and job see.
        folder: Of this job.
        idle: Seconds to wait for the next call.
    """
    log_to_stderr()
    pulse = Pulse(folder)
    threading.Thread(target=pulse.end_without, name="pulse", daemon=True).start()

    def build() -> Host:
        with loading(for_good=True):
            set_threads(1)
            return SiteHostFactory(site_file, folder)()

    serve_files(folder, pulse, build, idle)
    sys.stderr.flush()
    os._exit(0)  # threads of libraries may hang over the end of a CUDA context, and a GPU is held meanwhile


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
