"""Run the command line from a source tree: ``python cli.py ...`` is ``iminet-viz ...``."""

from iminet_viz.cli import run

if __name__ == "__main__":
    run()
