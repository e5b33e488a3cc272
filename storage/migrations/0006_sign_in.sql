-- Challenges that wallets have yet to sign; each is taken once (decisions A8).

CREATE TABLE auth_nonces (
    nonce text PRIMARY KEY,
    address text NOT NULL,
    message text NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE INDEX auth_nonces_expiry ON auth_nonces (expires_at);
