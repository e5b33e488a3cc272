-- Votes, once per market, wallet and type (T1 to T3). There is no foreign key to markets: a market and its first votes
-- may enter in one transaction, votes first, and the check would cost every vote a look-up that its owner has made.

CREATE TABLE vote_records (
    id uuid PRIMARY KEY,
    market_id text NOT NULL,
    user_pubkey text NOT NULL,
    vote_type text NOT NULL CHECK (vote_type IN ('proposal', 'dispute')),
    vote boolean NOT NULL, -- true is like or support
    weight numeric(20, 0) NOT NULL CHECK (weight >= 0),
    source text NOT NULL CHECK (source IN ('api', 'chain')),
    request_id text,
    tx_signature text,
    market_version bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT vote_records_once UNIQUE (market_id, user_pubkey, vote_type)
);

CREATE UNIQUE INDEX vote_records_request ON vote_records (user_pubkey, request_id) WHERE request_id IS NOT NULL;
CREATE INDEX vote_records_version ON vote_records (market_id, vote_type, market_version);
