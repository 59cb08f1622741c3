"""The work flows of ABCD (Chen et al., NAACL 2021) as journeys: imported, checked, run."""
