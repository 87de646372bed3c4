"""The verbs over millions of images, to one Parquet file: on this machine, or on a Ray cluster.

images -> inputs (listed once) -> decoding processes -> engine threads -> parts -> one file

The parts lie in a folder beside the file until all are done.  A part is there whole or not at all,
so whatever ends a run, the same command goes on where it stopped (serving.bulk.ledger).
"""
