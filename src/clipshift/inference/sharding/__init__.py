"""Predictions of any number of videos, by any number of processes and machines, that a kill does not begin anew.

All processes share a folder. The first one writes down which videos there are; of N shards, shard k answers the k-th
of N equal parts of that list. Its answers are added to a part file, line by line, so what was answered stays answered.
All parts one after the other are the same bytes as the answers of one process that never stopped.

    answers/
        manifest.json                   the model, how it is asked, how many shards and videos; the checksum of:
        videos.jsonl                    name and path of each video
        part-3-of-16.jsonl.partial      what shard 3 answered so far
        part-3-of-16.jsonl              all its answers
        answers.jsonl                   all answers, once they are merged
"""
