"""The entry points of the pipeline, one a stage of dvc.yaml; their parts are in `stages.lib`."""
