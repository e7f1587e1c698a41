-- Wallets made, changed and ended by hand, and the contracts behind committed credits.

ALTER TABLE wallets
    ADD COLUMN closed_at timestamptz,
    ADD CONSTRAINT wallets_closed_has_time CHECK ((state = 'closed') = (closed_at IS NOT NULL)),
    ADD CONSTRAINT wallets_closed_is_no_default CHECK (state <> 'closed' OR NOT is_default),
    ADD CONSTRAINT wallets_name_length CHECK (octet_length(name) BETWEEN 1 AND 1024),
    ADD CONSTRAINT wallets_metadata_is_object CHECK (jsonb_typeof(metadata) = 'object');
COMMENT ON COLUMN wallets.closed_at IS 'Ended then: the free rest of its grants is void, and nothing goes in or out. Null: it goes on.';

ALTER TABLE grants
    ADD COLUMN contract_number text,
    ADD COLUMN contract_currency text,
    ADD COLUMN contract_minimum_minor bigint,
    ADD COLUMN contract_starts_at timestamptz,
    ADD COLUMN contract_ends_at timestamptz,
    ADD CONSTRAINT grants_contract_is_committed CHECK (contract_number IS NULL OR category = 'committed'),
    ADD CONSTRAINT grants_contract_has_number CHECK (contract_number IS NOT NULL OR (contract_currency IS NULL
        AND contract_minimum_minor IS NULL AND contract_starts_at IS NULL AND contract_ends_at IS NULL)),
    ADD CONSTRAINT grants_contract_number_length CHECK (octet_length(contract_number) BETWEEN 1 AND 255),
    ADD CONSTRAINT grants_contract_minimum_has_currency
        CHECK ((contract_minimum_minor IS NULL) = (contract_currency IS NULL)),
    ADD CONSTRAINT grants_contract_minimum_not_negative CHECK (contract_minimum_minor >= 0),
    ADD CONSTRAINT grants_contract_currency_is_code CHECK (contract_currency ~ '^[a-z]{3}$'),
    ADD CONSTRAINT grants_contract_lives_forward CHECK (contract_ends_at > contract_starts_at);
COMMENT ON COLUMN grants.contract_ref IS 'Reference of a payment outside Stripe; without one, of the contract.';
COMMENT ON COLUMN grants.contract_number IS 'The contract that promises committed credits: its number, or where it is found.';
COMMENT ON COLUMN grants.contract_currency IS 'Currency of the least spend it promises.';
COMMENT ON COLUMN grants.contract_minimum_minor IS 'What the customer spends at least while it runs, in minor units.';
COMMENT ON COLUMN grants.contract_starts_at IS 'It runs from then.';
COMMENT ON COLUMN grants.contract_ends_at IS 'It runs until then, exclusive.';
