// adxingestor on Azure Functions, Flex Consumption. A resource group holds all of it: the app, its identity, the storage account
// with its state, and its logs. No key and no secret: everything is opened by the identity, and keys and publishing passwords are switched off.
// What to do before and after is in docs/deploy.md.

targetScope = 'resourceGroup'

@description('The name of the function app, and the beginning of its address.')
@minLength(2)
@maxLength(50)
param name string

@description('A region with Flex Consumption: az functionapp list-flexconsumption-locations')
param location string = resourceGroup().location

@description('Query URI of the Azure Data Explorer cluster or Eventhouse.')
param adxClusterUri string

@description('The database to copy into.')
param adxDatabase string

@description('Ingestion URI, where it is not the query URI with ingest- before the host.')
param adxIngestUri string = ''

@description('NCRONTAB of the nightly run, in UTC: Flex Consumption knows no other time zone.')
param nightlySchedule string = '0 0 2 * * *'

@description('Further settings of the app by their names, such as { TABLE_RETENTION: \'365d\' }. Each deployment sets all settings anew.')
param settings object = {}

@description('The most instances. The quota of the tenant binds long before that.')
@minValue(40)
@maxValue(1000)
param maximumInstanceCount int = 40

@description('Memory of an instance.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int = 2048

@description('Instances that always wait for HTTP calls: the status page opens at once, and they cost all day.')
@minValue(0)
param alwaysReadyHttp int = 0

@description('A subnet delegated to Microsoft.App/environments, for a cluster behind a private endpoint.')
param virtualNetworkSubnetId string = ''

@description('How long logs are kept.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 90

param tags object = {}

var packageContainer = 'app-package'

// Built-in roles (azure-docs `role-based-access-control/built-in-roles`); which of them the Functions host needs is said in
// azure-docs `azure-functions/functions-reference`, "Connecting to host storage with an identity".
var storageRoles = [
  'b7e6dc6d-f1e8-4753-8033-0f276bb0955b' // Storage Blob Data Owner
  '974c5e8b-45b9-4653-ba55-5f855dd0fb88' // Storage Queue Data Contributor
  '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3' // Storage Table Data Contributor
]
var monitoringMetricsPublisher = '3913510d-42f4-4e42-8a64-420c390055eb'

// Not the app's own identity: its permissions outlive the app, and can be given before there is one.
resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: 'id-${name}'
  location: location
  tags: tags
}

// The queues' names are in the function.json files: an account for each app.
resource storage 'Microsoft.Storage/storageAccounts@2023-05-01' = {
  name: 'st${uniqueString(resourceGroup().id, name)}'
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: { name: 'Standard_LRS' }
  properties: {
    allowBlobPublicAccess: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
  }

  resource blobs 'blobServices' = {
    name: 'default'

    resource package 'containers' = {
      name: packageContainer
    }
  }
}

resource storageAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for role in storageRoles: {
  name: guid(storage.id, identity.id, role)
  scope: storage
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
  }
}]

resource workspace 'Microsoft.OperationalInsights/workspaces@2023-09-01' = {
  name: 'log-${name}'
  location: location
  tags: tags
  properties: {
    retentionInDays: logRetentionDays
    sku: { name: 'PerGB2018' }
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: 'appi-${name}'
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    DisableLocalAuth: true
    WorkspaceResourceId: workspace.id
  }
}

resource insightsAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(insights.id, identity.id, monitoringMetricsPublisher)
  scope: insights
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', monitoringMetricsPublisher)
  }
}

resource plan 'Microsoft.Web/serverfarms@2024-04-01' = {
  name: 'plan-${name}'
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
  }
}

resource app 'Microsoft.Web/sites@2024-04-01' = {
  name: name
  location: location
  tags: tags
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identity.id}': {} }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    virtualNetworkSubnetId: empty(virtualNetworkSubnetId) ? null : virtualNetworkSubnetId
    siteConfig: {
      minTlsVersion: '1.2'
    }
    functionAppConfig: {
      // A custom handler (azure-powershell `FunctionsStackFlexData/EastAsia/custom.json`).
      runtime: {
        name: 'custom'
        version: '1.0'
      }
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${storage.properties.primaryEndpoints.blob}${packageContainer}'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identity.id
          }
        }
      }
      scaleAndConcurrency: {
        maximumInstanceCount: maximumInstanceCount
        instanceMemoryMB: instanceMemoryMB
        alwaysReady: alwaysReadyHttp == 0 ? [] : [{ name: 'http', instanceCount: alwaysReadyHttp }]
      }
    }
  }
  dependsOn: [storage::blobs::package, storageAccess, insightsAccess]

  resource appsettings 'config' = {
    name: 'appsettings'
    properties: union(
      {
        AzureWebJobsStorage__blobServiceUri: storage.properties.primaryEndpoints.blob
        AzureWebJobsStorage__queueServiceUri: storage.properties.primaryEndpoints.queue
        AzureWebJobsStorage__tableServiceUri: storage.properties.primaryEndpoints.table
        AzureWebJobsStorage__credential: 'managedidentity'
        AzureWebJobsStorage__clientId: identity.properties.clientId
        APPLICATIONINSIGHTS_CONNECTION_STRING: insights.properties.ConnectionString
        APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identity.properties.clientId};Authorization=AAD'
        AZURE_CLIENT_ID: identity.properties.clientId
        AZURE_TENANT_ID: tenant().tenantId
        AZURE_TOKEN_CREDENTIALS: 'ManagedIdentityCredential'
        AZURE_AUTHORITY_HOST: environment().authentication.loginEndpoint
        NIGHTLY_SCHEDULE: nightlySchedule
        ADX_CLUSTER_URI: adxClusterUri
        ADX_DATABASE: adxDatabase
      },
      empty(adxIngestUri) ? {} : { ADX_INGEST_URI: adxIngestUri },
      settings
    )
  }

  // No user name and password for publishing: `config-zip` signs in by a token of Entra (azure-cli `appservice/custom.py`,
  // enable_zip_deploy_flex).
  resource scm 'basicPublishingCredentialsPolicies' = {
    name: 'scm'
    properties: {
      allow: false
    }
  }

  resource ftp 'basicPublishingCredentialsPolicies' = {
    name: 'ftp'
    properties: {
      allow: false
    }
  }
}

@description('The name of the function app.')
output name string = app.name

@description('Its address.')
output url string = 'https://${app.properties.defaultHostName}'

@description('The object id of its identity: for the permission to hunt.')
output principalId string = identity.properties.principalId

@description('The client id of its identity.')
output clientId string = identity.properties.clientId

@description('Its identity as Azure Data Explorer writes it: for its roles in the database.')
output adxPrincipal string = 'aadapp=${identity.properties.clientId};${tenant().tenantId}'

@description('The storage account with its state.')
output storageAccount string = storage.name
