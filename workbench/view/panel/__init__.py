"""The live panel: charts of runs, with buttons."""
