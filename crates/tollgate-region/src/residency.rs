use std::fmt;

use tollgate_core::Region;

/// How far Azure lets a deployment's data travel.
///
/// A regional deployment stays where the resource is; a data zone is the whole of the EU or of the
/// US; a global deployment is answered anywhere (Microsoft, "Deployment types for Azure OpenAI").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeploymentType {
    /// `DataZoneProvisionedManaged`
    DataZoneProvisioned,
    /// `DataZoneStandard`
    DataZoneStandard,
    /// `GlobalProvisionedManaged`
    GlobalProvisioned,
    /// `GlobalStandard`
    GlobalStandard,
    /// `ProvisionedManaged`: regional.
    Provisioned,
    /// `Standard`: regional.
    Standard,
}

impl DeploymentType {
    /// Whether calls to such a deployment are answered within this region.
    ///
    /// Data zones exist for the regions named `eu` and `us`; global deployments belong to a region
    /// that is named `global`.
    #[must_use]
    pub fn stays_in(self, region: &Region) -> bool {
        match self {
            Self::Provisioned | Self::Standard => true,
            Self::DataZoneProvisioned | Self::DataZoneStandard => {
                matches!(region.as_str(), "eu" | "us" | "global")
            }
            Self::GlobalProvisioned | Self::GlobalStandard => region.as_str() == "global",
        }
    }

    /// The type of this name, in Azure's spelling.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "DataZoneProvisionedManaged" => Self::DataZoneProvisioned,
            "DataZoneStandard" => Self::DataZoneStandard,
            "GlobalProvisionedManaged" => Self::GlobalProvisioned,
            "GlobalStandard" => Self::GlobalStandard,
            "ProvisionedManaged" => Self::Provisioned,
            "Standard" => Self::Standard,
            _ => return None,
        })
    }
}

impl fmt::Display for DeploymentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DataZoneProvisioned => "DataZoneProvisionedManaged",
            Self::DataZoneStandard => "DataZoneStandard",
            Self::GlobalProvisioned => "GlobalProvisionedManaged",
            Self::GlobalStandard => "GlobalStandard",
            Self::Provisioned => "ProvisionedManaged",
            Self::Standard => "Standard",
        })
    }
}

/// Whether a place that an answer names is outside of where it must come from: the declared places
/// or, if none is, the data zone that the region's name stands for.
pub(crate) fn is_outside(place: &str, region: &Region, declared: &[String]) -> bool {
    let place = plain(place);
    match (declared, region.as_str()) {
        ([], "eu") => !EU_LOCATIONS.contains(&&*place),
        // `eastus`, `southcentralus`, `westus3`
        ([], "us") => !place
            .trim_end_matches(|c: char| c.is_ascii_digit())
            .ends_with("us"),
        ([], _) => false,
        (declared, _) => !declared.contains(&place),
    }
}

/// A place's name without what differs between its spellings: `Sweden Central`, `swedencentral`.
pub(crate) fn plain(place: &str) -> String {
    let kept = place.chars().filter(char::is_ascii_alphanumeric);
    kept.map(|c| c.to_ascii_lowercase()).collect()
}

/// Azure's locations in member states of the EU (Microsoft, "List of Azure regions").
const EU_LOCATIONS: [&str; 14] = [
    "austriaeast",
    "belgiumcentral",
    "denmarkeast",
    "francecentral",
    "francesouth",
    "germanynorth",
    "germanywestcentral",
    "italynorth",
    "northeurope",
    "polandcentral",
    "spaincentral",
    "swedencentral",
    "swedensouth",
    "westeurope",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_know_how_far_they_travel() {
        for (name, regions) in [
            ("Standard", &["eu", "us", "ch", "global"][..]),
            ("ProvisionedManaged", &["eu", "us", "ch", "global"]),
            ("DataZoneStandard", &["eu", "us", "global"]),
            ("DataZoneProvisionedManaged", &["eu", "us", "global"]),
            ("GlobalStandard", &["global"]),
            ("GlobalProvisionedManaged", &["global"]),
        ] {
            let kind = DeploymentType::from_name(name).unwrap();
            assert_eq!(kind.to_string(), name);
            for region in ["eu", "us", "ch", "global"] {
                let stays = kind.stays_in(&Region::new(region).unwrap());
                assert_eq!(stays, regions.contains(&region), "{name} in {region}");
            }
        }
        assert_eq!(DeploymentType::from_name("standard"), None);
    }

    #[test]
    fn places_are_compared_whatever_their_spelling() {
        let outside = |place: &str, region: &str, declared: &[&str]| {
            let declared: Vec<_> = declared.iter().map(|place| plain(place)).collect();
            is_outside(place, &Region::new(region).unwrap(), &declared)
        };
        for place in [
            "Sweden Central",
            "swedencentral",
            "West Europe",
            "Germany West Central",
        ] {
            assert!(!outside(place, "eu", &[]), "{place}");
            assert!(outside(place, "us", &[]), "{place}");
        }
        for place in ["East US", "eastus2", "West US 3", "South Central US"] {
            assert!(outside(place, "eu", &[]), "{place}");
            assert!(!outside(place, "us", &[]), "{place}");
        }
        // In Europe, but in no data zone.
        for place in [
            "UK South",
            "Switzerland North",
            "Norway East",
            "",
            "\u{fffd}",
        ] {
            assert!(
                outside(place, "eu", &[]) && outside(place, "us", &[]),
                "{place}"
            );
            assert!(!outside(place, "ch", &[]), "{place}");
        }
        let declared = &["France Central", "uk-south"];
        assert!(!outside("francecentral", "eu", declared));
        assert!(!outside("UK South", "eu", declared));
        assert!(
            outside("Sweden Central", "eu", declared),
            "what is declared counts alone"
        );
    }
}
