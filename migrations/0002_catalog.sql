-- The catalogue: documents by name and version, and the head every posting compares with (rule 34).

CREATE TABLE catalog_head (
    singleton boolean CONSTRAINT catalog_head_pkey PRIMARY KEY CONSTRAINT catalog_head_one_row CHECK (singleton),
    version integer NOT NULL,
    settings jsonb NOT NULL DEFAULT '{}',
    applied_at timestamptz NOT NULL,
    CONSTRAINT catalog_head_version_positive CHECK (version >= 0)
);
COMMENT ON TABLE catalog_head IS 'Which version of the catalogue is in force; read under every posting''s lock.';
COMMENT ON COLUMN catalog_head.singleton IS 'Always true: there is one row.';
COMMENT ON COLUMN catalog_head.version IS 'Counts up by one with each apply.';
COMMENT ON COLUMN catalog_head.settings IS 'What belongs to no feature or plan: default_credits, minimum prices.';
COMMENT ON COLUMN catalog_head.applied_at IS 'When it was applied.';

CREATE TABLE catalog_features (
    feature_id text CONSTRAINT catalog_features_pkey PRIMARY KEY,
    managed_by text NOT NULL,
    document jsonb NOT NULL,
    changed_in integer NOT NULL,
    archived boolean NOT NULL DEFAULT false,
    CONSTRAINT catalog_features_id_length CHECK (octet_length(feature_id) BETWEEN 1 AND 128),
    CONSTRAINT catalog_features_managed_by_known CHECK (managed_by IN ('file', 'api'))
);
COMMENT ON TABLE catalog_features IS 'Features and credit systems.';
COMMENT ON COLUMN catalog_features.feature_id IS 'Name in the catalogue and the API.';
COMMENT ON COLUMN catalog_features.managed_by IS 'file or api; apply never touches the other kind.';
COMMENT ON COLUMN catalog_features.document IS 'The feature, as domain::catalog writes it.';
COMMENT ON COLUMN catalog_features.changed_in IS 'Catalogue version that last changed it.';
COMMENT ON COLUMN catalog_features.archived IS 'Gone from the catalogue; grants of it stay readable.';

CREATE TABLE catalog_plans (
    plan_id text NOT NULL,
    plan_version integer NOT NULL,
    managed_by text NOT NULL,
    document jsonb NOT NULL,
    changed_in integer NOT NULL,
    is_current boolean NOT NULL,
    CONSTRAINT catalog_plans_pkey PRIMARY KEY (plan_id, plan_version),
    CONSTRAINT catalog_plans_id_length CHECK (octet_length(plan_id) BETWEEN 1 AND 128),
    CONSTRAINT catalog_plans_version_positive CHECK (plan_version >= 1),
    CONSTRAINT catalog_plans_managed_by_known CHECK (managed_by IN ('file', 'api'))
);
CREATE UNIQUE INDEX catalog_plans_one_current ON catalog_plans (plan_id) WHERE is_current;
COMMENT ON TABLE catalog_plans IS 'Plans, every version ever in force: attachments pin one.';
COMMENT ON COLUMN catalog_plans.plan_id IS 'Name in the catalogue and the API.';
COMMENT ON COLUMN catalog_plans.plan_version IS 'Counts up by one with each change of the plan.';
COMMENT ON COLUMN catalog_plans.managed_by IS 'file or api; apply never touches the other kind.';
COMMENT ON COLUMN catalog_plans.document IS 'The plan, as domain::catalog writes it.';
COMMENT ON COLUMN catalog_plans.changed_in IS 'Catalogue version that brought this plan version.';
COMMENT ON COLUMN catalog_plans.is_current IS 'The version new attachments get; none current: the plan is archived.';

CREATE TABLE catalog_files (
    sha256 bytea CONSTRAINT catalog_files_pkey PRIMARY KEY,
    version integer NOT NULL,
    applied_at timestamptz NOT NULL,
    CONSTRAINT catalog_files_is_sha256 CHECK (octet_length(sha256) = 32)
);
COMMENT ON TABLE catalog_files IS 'Files applied once: none is applied again at a start, so an old replica reverts nothing.';
COMMENT ON COLUMN catalog_files.sha256 IS 'SHA-256 of the file.';
COMMENT ON COLUMN catalog_files.version IS 'Catalogue version it became.';
COMMENT ON COLUMN catalog_files.applied_at IS 'When.';
