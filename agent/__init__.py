"""What runs on the node: services, pipeline, recorder, spool, outbox and the `lykta` command."""
