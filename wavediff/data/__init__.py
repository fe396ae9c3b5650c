"""Datasets of audio: from files to batches.

A dataset is a function that returns a ``Source`` (its files in a stable order, with labels or noisy
recordings if it has them) or a ``Corpus`` (shards, of which only some are on the disk at a time),
and a file ``conf/data/NAME.yaml``:

    defaults: [loader, _self_]           # the settings below, which every dataset has
    _target_: wavediff.data.folder.folder
    root: ???                            # this and the other arguments of the function

Settings of the loader, the same for every dataset (``conf/data/loader.yaml``):

    split         {every: n, test: i, validation: j}: clip number k is used for testing if
                  k % n == i, for validation if k % n == j, and for training otherwise
    normalize     the peak that every utterance is scaled to; null keeps the recorded level.
                  A clean recording and its noisy one get the same gain, here and below
    gain_db       [min, max] of the random gain of a training crop in dB; null for none
    min_seconds   shorter files are skipped (files shorter than a crop are padded with zeros)
    max_seconds   longer files are split into clips of equal length, at most this
    balance       clips: one crop of every clip per epoch; seconds: in proportion to its length
    cache         keep the decoded audio in memory
    workers       processes that decode in parallel to training (used by the training loop)
    mix           how noise is added to clean speech (``wavediff.data.mixing``); null for none

A dataset of time series is a function that returns a ``SeriesSet``, with ``defaults:
[series, _self_]`` instead. ``wavediff.series.settings`` documents ``conf/data/series.yaml``; it is
not imported here because it imports pandas, 76 MB that audio does not need.
"""
