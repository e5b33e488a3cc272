-- What is confirmed is followed until it is final, and a day's fees are added up.

ALTER TABLE chain_transactions ADD COLUMN fee_lamports bigint NOT NULL DEFAULT 0;

CREATE INDEX chain_transactions_confirmed ON chain_transactions (confirmed_at) WHERE status = 'confirmed';
CREATE INDEX chain_transactions_signed ON chain_transactions (signed_at) WHERE signed_at IS NOT NULL;
