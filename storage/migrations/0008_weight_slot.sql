-- The slot at which the chain showed the weight of a dispute vote (T8).

ALTER TABLE vote_records ADD COLUMN weight_slot bigint CHECK (weight_slot >= 0);
