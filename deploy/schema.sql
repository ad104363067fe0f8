-- The tables that the worker reads (and never writes): who owns a structure and what is mounted on it.
-- A platform with other tables sets MYSQL_CHANNELS_QUERY to a query whose columns have the names used here.

CREATE TABLE IF NOT EXISTS tenants (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name VARCHAR(255) NOT NULL
);

CREATE TABLE IF NOT EXISTS structures (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, -- mysql_id of the structure document, <n> of measures_<n>
    tenant_id BIGINT NOT NULL,
    mongo_id CHAR(24) NOT NULL,                    -- _id of the structure document
    name VARCHAR(255) NOT NULL,
    FOREIGN KEY (tenant_id) REFERENCES tenants (id)
);

CREATE TABLE IF NOT EXISTS sensors (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, -- the folder of its raw files
    structure_id BIGINT NOT NULL,
    name VARCHAR(255) NOT NULL,                    -- the same folder where USE_S3_STRING_PATHS is set
    node VARCHAR(255) NOT NULL,                    -- the label that the geometry speaks of
    x DOUBLE NOT NULL DEFAULT 0,                   -- m
    y DOUBLE NOT NULL DEFAULT 0,                   -- m
    z DOUBLE NOT NULL DEFAULT 0,                   -- m
    FOREIGN KEY (structure_id) REFERENCES structures (id)
);

CREATE TABLE IF NOT EXISTS channels (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    sensor_id BIGINT NOT NULL,
    name VARCHAR(255) NOT NULL,                    -- unique in the structure
    axis VARCHAR(64) NOT NULL,                     -- the column in the sensor's files
    dir_x DOUBLE NOT NULL DEFAULT 0,               -- direction, a unit vector
    dir_y DOUBLE NOT NULL DEFAULT 0,
    dir_z DOUBLE NOT NULL DEFAULT 1,
    quantity VARCHAR(64) NOT NULL DEFAULT 'acceleration', -- or velocity, displacement; others are no motion
    unit VARCHAR(64) NOT NULL DEFAULT 'm/s^2',     -- after calibration
    sampling_rate_hz DOUBLE NULL,
    sensitivity DOUBLE NOT NULL DEFAULT 1,         -- raw = physical * sensitivity + offset
    `offset` DOUBLE NOT NULL DEFAULT 0,
    clock_offset_s DOUBLE NOT NULL DEFAULT 0,      -- the sensor's clock minus true time
    is_reference BOOLEAN NOT NULL DEFAULT FALSE,
    active BOOLEAN NOT NULL DEFAULT TRUE,
    FOREIGN KEY (sensor_id) REFERENCES sensors (id)
);
