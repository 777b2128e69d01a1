"""The workbench: figures, panels, diagnosis, study and generated data over `msinet_core`."""
