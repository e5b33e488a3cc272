-- A tally is told in two channels of its market; one row says so, and the second number stands beside the first.
ALTER TABLE feed_outbox ADD COLUMN votes_seq bigint;
